! SPDX-License-Identifier: Apache-2.0
!> Learned emulators in a Fortran host: one type, five calls.
!!
!! The plugin reads the bound arrays of the host, runs the emulators of the YAML file whenever they are due, and writes
!! their outputs into the bound arrays in place:
!!
!!```fortran
!! use coupler_plugin, only: coupler_t
!! type(coupler_t) :: coupler
!!
!! call coupler%init('coupling.yml', comm=MPI_COMM_WORLD, start='2001-01-01', dt=3600.0_real64)
!! call coupler%set_cells(id, lon, lat, area)
!! call coupler%bind('tas', t2m, units='K')
!! call coupler%bind('lai', lai)
!! do istep = 1, nsteps
!!    ...                            ! the host's own physics
!!    call coupler%step()
!! end do
!! call coupler%finalize()
!!```
!!
!! Each call has an optional last argument `rc`: 0, or one of the constants `COUPLER_ERROR_...`. Where `rc` is absent,
!! and wherever the YAML file says `on_error: abort` (the default), an error prints its message and stops the whole MPI
!! job. This file holds no logic: it turns Fortran's strings and arrays into those of `coupler_plugin.h`.
module coupler_plugin
   use, intrinsic :: iso_c_binding, only: c_char, c_double, c_f_pointer, c_int, c_int64_t, c_null_char, c_null_ptr, c_ptr, &
      c_size_t
   implicit none
   private

   public :: coupler_array, coupler_array_t, coupler_t, coupler_version

   integer(c_int), parameter, public :: COUPLER_OK = 0              !! success
   integer(c_int), parameter, public :: COUPLER_ERROR_STARTUP = 1   !! Python or the library did not start
   integer(c_int), parameter, public :: COUPLER_ERROR_CONFIG = 2    !! the YAML file is missing, unreadable or wrong
   integer(c_int), parameter, public :: COUPLER_ERROR_ORDER = 3     !! a call out of order, or an unknown coupler
   integer(c_int), parameter, public :: COUPLER_ERROR_FIELD = 4     !! an unknown field, or one that was never bound
   integer(c_int), parameter, public :: COUPLER_ERROR_ARRAY = 5     !! an array of the wrong kind, rank or shape
   integer(c_int), parameter, public :: COUPLER_ERROR_UNITS = 6     !! units that cannot be read or converted
   integer(c_int), parameter, public :: COUPLER_ERROR_CELLS = 7     !! ids, coordinates or areas of the cells are wrong
   integer(c_int), parameter, public :: COUPLER_ERROR_MODEL = 8     !! an emulator file or its manifest is wrong
   integer(c_int), parameter, public :: COUPLER_ERROR_RUN = 9       !! an exception inside a step
   integer(c_int), parameter, public :: COUPLER_ERROR_IO = 10       !! a file could not be written or read
   integer(c_int), parameter, public :: COUPLER_ERROR_MPI = 11      !! MPI does not fit, or another rank failed
   integer(c_int), parameter, public :: COUPLER_ERROR_INTERNAL = 12 !! an error of the plugin itself

   !> A coupler: a YAML file at work on the cells of this rank. A process may have several.
   !!
   !! It has no `final` procedure, on purpose. Finalizing a coupler is collective over MPI and writes files; a compiler
   !! would do it when a variable leaves its scope, at different times on different ranks, once for each copy of the
   !! variable, never for a variable of the main program, and at worst after MPI_Finalize.
   type :: coupler_t
      private
      integer(c_int) :: handle = 0
   contains
      procedure :: init
      procedure :: set_cells
      procedure :: bind
      procedure :: bind_array
      procedure :: step
      procedure :: step_begin
      procedure :: step_end
      procedure :: write_restart
      procedure :: finalize
      procedure :: get_message
   end type coupler_t

   !> Where an array is, and its strides: what the function `coupler_array` gives and `bind_array` takes.
   type, bind(c) :: coupler_array_t
      private
      type(c_ptr) :: data = c_null_ptr
      integer(c_int) :: type = 0, rank = 0
      integer(c_int64_t) :: extent(7) = 0, stride(7) = 0
   end type coupler_array_t

   interface
      !> Describe an array for `bind_array`. It is called as a C function, and so gets the array itself from compilers
      !! that hand copies to Fortran procedures.
      function coupler_array(array) bind(c, name='coupler_array_of_descriptor') result(description)
         import :: coupler_array_t
         type(*), dimension(..), intent(inout), target, asynchronous :: array
         type(coupler_array_t) :: description
      end function coupler_array

      integer(c_int) function c_init(config, comm, start, dt, handle) bind(c, name='coupler_init')
         import :: c_char, c_double, c_int
         character(kind=c_char), intent(in) :: config(*), start(*)
         integer(c_int), intent(in), optional :: comm
         real(c_double), value :: dt
         integer(c_int), intent(out) :: handle
      end function c_init

      integer(c_int) function c_set_cells(handle, id, lon, lat, area, corner_lon, corner_lat) &
         bind(c, name='coupler_set_cells_descriptor')
         import :: c_int
         integer(c_int), value :: handle
         type(*), dimension(..), intent(in) :: id, lon, lat
         type(*), dimension(..), intent(in), optional :: area, corner_lon, corner_lat
      end function c_set_cells

      integer(c_int) function c_bind(handle, name, field, units, device) bind(c, name='coupler_bind_descriptor')
         import :: c_char, c_int
         integer(c_int), value :: handle
         character(kind=c_char), intent(in) :: name(*)
         type(*), dimension(..), intent(inout), target, asynchronous :: field
         character(kind=c_char), intent(in), optional :: units(*)
         integer(c_int), value :: device
      end function c_bind

      integer(c_int) function c_bind_array(handle, name, array, units, device) bind(c, name='coupler_bind_described')
         import :: c_char, c_int, coupler_array_t
         integer(c_int), value :: handle
         character(kind=c_char), intent(in) :: name(*)
         type(coupler_array_t), intent(in) :: array
         character(kind=c_char), intent(in), optional :: units(*)
         integer(c_int), value :: device
      end function c_bind_array

      integer(c_int) function c_step(handle) bind(c, name='coupler_step')
         import :: c_int
         integer(c_int), value :: handle
      end function c_step

      integer(c_int) function c_step_begin(handle) bind(c, name='coupler_step_begin')
         import :: c_int
         integer(c_int), value :: handle
      end function c_step_begin

      integer(c_int) function c_step_end(handle) bind(c, name='coupler_step_end')
         import :: c_int
         integer(c_int), value :: handle
      end function c_step_end

      integer(c_int) function c_write_restart(handle) bind(c, name='coupler_write_restart')
         import :: c_int
         integer(c_int), value :: handle
      end function c_write_restart

      integer(c_int) function c_finalize(handle) bind(c, name='coupler_finalize')
         import :: c_int
         integer(c_int), value :: handle
      end function c_finalize

      integer(c_int) function c_get_message(handle, buffer, length) bind(c, name='coupler_get_message')
         import :: c_char, c_int
         integer(c_int), value :: handle, length
         character(kind=c_char), intent(out) :: buffer(*)
      end function c_get_message

      subroutine c_abort(handle) bind(c, name='coupler_abort')
         import :: c_int
         integer(c_int), value :: handle
      end subroutine c_abort

      function c_version() bind(c, name='coupler_version') result(text)
         import :: c_ptr
         type(c_ptr) :: text
      end function c_version

      pure integer(c_size_t) function c_strlen(text) bind(c, name='strlen')
         import :: c_ptr, c_size_t
         type(c_ptr), value, intent(in) :: text
      end function c_strlen
   end interface

contains

   !> Make the coupler from a YAML file. The first call of a process starts Python.
   subroutine init(self, config, comm, start, dt, rc)
      class(coupler_t), intent(inout) :: self
      character(len=*), intent(in) :: config      !! path of the YAML file
      integer(c_int), intent(in), optional :: comm !! communicator of the ranks that call; absent: a serial host,
                                                   !! which names the arguments after it: start=..., dt=...
      character(len=*), intent(in) :: start       !! when the first step begins: '2001-01-01' or '2001-01-01T06:00:00'
      real(c_double), intent(in) :: dt            !! length of the host's step [s]
      integer(c_int), intent(out), optional :: rc !! status
      integer(c_int) :: status

      status = c_init(c_string(config), comm, c_string(start), dt, self%handle)
      call answer(self%handle, status, rc)
   end subroutine init

   !> Say which cells this rank owns. All arrays have one shape, of rank 0 to 4; they are copied.
   !!
   !! Conservative regridding needs corners where the YAML file does not name the host's grid: both arrays have one more
   !! dimension, the first, as in `corner_lon(4, ni, nj)`, with the corners in order around each cell. A cell with fewer
   !! than others repeats its last.
   subroutine set_cells(self, id, lon, lat, area, corner_lon, corner_lat, rc)
      class(coupler_t), intent(in) :: self
      type(*), dimension(..), intent(in) :: id             !! global number of each cell from 1; 0: not active; integer
      type(*), dimension(..), intent(in) :: lon            !! longitude [degrees east]; real
      type(*), dimension(..), intent(in) :: lat            !! latitude [degrees north]; real
      type(*), dimension(..), intent(in), optional :: area !! area [m2]; real
      type(*), dimension(..), intent(in), optional :: corner_lon !! longitudes of the corners [degrees east]; real
      type(*), dimension(..), intent(in), optional :: corner_lat !! latitudes of the corners [degrees north]; real
      integer(c_int), intent(out), optional :: rc          !! status

      call answer(self%handle, c_set_cells(self%handle, id, lon, lat, area, corner_lon, corner_lat), rc)
   end subroutine set_cells

   !> Bind a field to an array of the host, of any real kind and any strides; it is not copied, but read and written
   !! where it is by each step until it is bound again or the coupler is finalized.
   !!
   !! Give the array itself the `target` attribute (or `allocatable, target`, or `pointer`): it changes in `step` without
   !! being an argument there. Bind it where it lives, not in a procedure that got a section of it as an argument, which
   !! may be a copy. `intent(inout)` keeps expressions out, which would be gone before the first step.
   !!
   !! One kind of array must go through `bind_array`: a component of all elements of an array of derived types, such as
   !! `cells%tas` or a pointer to it. gfortran hands a copy of it to every procedure that is not a C function.
   !!
   !! With `device=.true.` the array is in memory of a GPU, and the call stands where its name means the address there:
   !! inside `!$acc host_data use_device(field)` or `!$omp target data use_device_addr(field)`. The host's kernels on the
   !! array must be done before it calls a step, and when the step returns, the plugin's are. Where torch sees no GPU, the
   !! array is taken to be in memory of the host, where a program for GPUs then has it, too.
   subroutine bind(self, name, field, units, device, rc)
      class(coupler_t), intent(in) :: self
      character(len=*), intent(in) :: name                                 !! name in the field dictionary: 'tas'
      type(*), dimension(..), intent(inout), target, asynchronous :: field !! array of the shape of the cells
      character(len=*), intent(in), optional :: units                      !! CF units; absent: the field's own
      logical, intent(in), optional :: device                              !! whether `field` is in memory of a GPU
      integer(c_int), intent(out), optional :: rc                          !! status

      if (present(units)) then
         call answer(self%handle, c_bind(self%handle, c_string(name), field, c_string(units), flag(device)), rc)
      else
         call answer(self%handle, c_bind(self%handle, c_string(name), field, device=flag(device)), rc)
      end if
   end subroutine bind

   !> Bind a field to an array that was described where it lives:
   !! `call coupler%bind_array('tas', coupler_array(cells%tas), units='K')`.
   subroutine bind_array(self, name, array, units, device, rc)
      class(coupler_t), intent(in) :: self
      character(len=*), intent(in) :: name            !! name in the field dictionary: 'tas'
      type(coupler_array_t), intent(in) :: array      !! what `coupler_array` says of the host's array
      character(len=*), intent(in), optional :: units !! CF units; absent: the field's own
      logical, intent(in), optional :: device         !! whether the array is in memory of a GPU, as for `bind`
      integer(c_int), intent(out), optional :: rc     !! status

      if (present(units)) then
         call answer(self%handle, c_bind_array(self%handle, c_string(name), array, c_string(units), flag(device)), rc)
      else
         call answer(self%handle, c_bind_array(self%handle, c_string(name), array, device=flag(device)), rc)
      end if
   end subroutine bind_array

   !> Advance by one step of the host: read the inputs, run what is due, write the outputs in place.
   subroutine step(self, rc)
      class(coupler_t), intent(in) :: self
      integer(c_int), intent(out), optional :: rc !! status

      call answer(self%handle, c_step(self%handle), rc)
   end subroutine step

   !> Do the first half of a step: read the inputs, and let the first emulator that is due run beside the host.
   !!
   !! Until `step_end` the host does what needs no output, and changes no array that is bound but the inputs of that
   !! emulator. `step` is both halves.
   subroutine step_begin(self, rc)
      class(coupler_t), intent(in) :: self
      integer(c_int), intent(out), optional :: rc !! status

      call answer(self%handle, c_step_begin(self%handle), rc)
   end subroutine step_begin

   !> Do the other half of a step: wait for the emulator beside the host, run the rest, write the outputs in place.
   subroutine step_end(self, rc)
      class(coupler_t), intent(in) :: self
      integer(c_int), intent(out), optional :: rc !! status

      call answer(self%handle, c_step_end(self%handle), rc)
   end subroutine step_end

   !> Write a restart of the present time, whatever the alarm in the YAML file says. Call it on all ranks.
   !!
   !! The next run reads it where it starts at that time; the YAML file needs a section `restart`.
   subroutine write_restart(self, rc)
      class(coupler_t), intent(in) :: self
      integer(c_int), intent(out), optional :: rc !! status

      call answer(self%handle, c_write_restart(self%handle), rc)
   end subroutine write_restart

   !> Close the history and the report. Call it on all ranks, before MPI_Finalize.
   subroutine finalize(self, rc)
      class(coupler_t), intent(in) :: self
      integer(c_int), intent(out), optional :: rc !! status

      call answer(self%handle, c_finalize(self%handle), rc)
   end subroutine finalize

   !> Get the text of the last error of this coupler; that of the process where `init` itself has failed.
   subroutine get_message(self, text)
      class(coupler_t), intent(in) :: self
      character(len=:), allocatable, intent(out) :: text !! empty where there was no error
      character(kind=c_char) :: nothing(1)
      character(kind=c_char), allocatable :: buffer(:)
      integer(c_int) :: length
      integer :: i

      length = c_get_message(self%handle, nothing, 0_c_int)
      allocate (buffer(length + 1))
      length = c_get_message(self%handle, buffer, length + 1_c_int)
      allocate (character(len=length) :: text)
      do i = 1, length
         text(i:i) = buffer(i)
      end do
   end subroutine get_message

   !> Version of the library, such as '0.1.0'.
   function coupler_version() result(version)
      character(len=:), allocatable :: version
      character(kind=c_char), pointer :: text(:)
      type(c_ptr) :: address
      integer :: i

      address = c_version()
      call c_f_pointer(address, text, [c_strlen(address)])
      allocate (character(len=size(text)) :: version)
      do i = 1, size(text)
         version(i:i) = text(i)
      end do
   end function coupler_version

   !> Hand a status to the host, or stop where it did not ask for one.
   subroutine answer(handle, status, rc)
      integer(c_int), intent(in) :: handle, status
      integer(c_int), intent(out), optional :: rc

      if (present(rc)) then
         rc = status
      else if (status /= COUPLER_OK) then
         call c_abort(handle)
      end if
   end subroutine answer

   !> What C makes of a choice; absent: no.
   pure integer(c_int) function flag(choice)
      logical, intent(in), optional :: choice

      flag = 0
      if (present(choice)) flag = merge(1_c_int, 0_c_int, choice)
   end function flag

   !> The string as C wants it, without trailing blanks.
   pure function c_string(text)
      character(len=*), intent(in) :: text
      character(kind=c_char, len=:), allocatable :: c_string

      c_string = trim(text)//c_null_char
   end function c_string

end module coupler_plugin
