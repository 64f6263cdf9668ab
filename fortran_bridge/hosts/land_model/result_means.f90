! SPDX-License-Identifier: Apache-2.0
!> Means over the result period and the final state, one value a cell, written to NetCDF.
!!
!! Rank 0 writes; it receives one block of cells of one field at a time, so it never holds a global field either.
module result_means
   use mpi_f08, only: mpi_double_precision, mpi_integer, mpi_recv, mpi_send, mpi_status_ignore
   use netcdf, only: nf90_clobber, nf90_close, nf90_create, nf90_def_dim, nf90_def_var, nf90_double, nf90_enddef, &
      nf90_global, nf90_int, nf90_netcdf4, nf90_put_att, nf90_put_var
   use cells, only: cells_t
   use constants, only: wp
   use netcdf_status, only: check
   use parallel, only: parallel_t, stop_all
   implicit none
   private
   public :: result_means_t

   integer, parameter :: most_fields = 40

   type :: field_t
      !! A field of the model and its mean.
      character(len=32) :: name
      character(len=64) :: standard_name
      character(len=16) :: units
      logical :: averaged = .true.
         !! Mean over the result period; otherwise the value at the end of the run.
      real(wp), pointer :: values(:) => null()
      real(wp), allocatable :: total(:)
   end type field_t

   type :: result_means_t
      private
      type(field_t) :: fields(most_fields)
      integer :: count = 0
      integer :: steps = 0
   contains
      procedure :: include => include_field
      procedure :: add
      procedure :: write => write_file
   end type result_means_t

contains

   subroutine include_field(self, name, standard_name, units, values, final)
      !! Add a field to the list.
      class(result_means_t), intent(inout) :: self
      character(len=*), intent(in) :: name
         !! Short name, as in CMIP where there is one.
      character(len=*), intent(in) :: standard_name
         !! CF standard name, or a description where CF has none.
      character(len=*), intent(in) :: units
      real(wp), target, intent(in) :: values(:)
         !! Read at every step of the result period.
      logical, intent(in), optional :: final
         !! Take the value at the end of the run instead of the mean.

      if (self%count == most_fields) call stop_all('there is no room for the field '//name//' in result_means.')
      self%count = self%count + 1
      associate (field => self%fields(self%count))
         field%name = name
         field%standard_name = standard_name
         field%units = units
         field%values => values
         allocate (field%total(size(values)), source=0.0_wp)
         if (present(final)) field%averaged = .not. final
      end associate
   end subroutine include_field

   subroutine add(self)
      !! Add a step of the result period.
      class(result_means_t), intent(inout) :: self
      integer :: i

      do i = 1, self%count
         self%fields(i)%total = self%fields(i)%total + self%fields(i)%values
      end do
      self%steps = self%steps + 1
   end subroutine add

   subroutine write_file(self, path, period, owned, ranks)
      !! Write all fields.
      class(result_means_t), intent(inout) :: self
      character(len=*), intent(in) :: path
      character(len=*), intent(in) :: period
         !! First and last day of the result period.
      type(cells_t), intent(in) :: owned
      type(parallel_t), intent(in) :: ranks
      integer :: file, dimension, id, lon, lat, area, i, variables(self%count)

      if (ranks%rank == 0) then
         call check(nf90_create(path, ior(nf90_netcdf4, nf90_clobber), file), 'creating '//path)
         call check(nf90_put_att(file, nf90_global, 'Conventions', 'CF-1.10'), path)
         call check(nf90_put_att(file, nf90_global, 'title', 'Land model: means over '//period), path)
         call check(nf90_put_att(file, nf90_global, 'source', &
            'land_model, the example host of coupler_plugin, driven by a simulated year of weather'), path)
         call check(nf90_def_dim(file, 'cell', owned%total, dimension), path)
         id = defined('id', '', '1', 'index of the cell on the grid, longitude fastest, from 1', nf90_int)
         lon = defined('lon', 'longitude', 'degrees_east', 'longitude', nf90_double)
         lat = defined('lat', 'latitude', 'degrees_north', 'latitude', nf90_double)
         area = defined('cell_area', 'cell_area', 'm2', 'land area of the cell', nf90_double)
         do i = 1, self%count
            associate (field => self%fields(i))
               if (index(trim(field%standard_name), ' ') == 0) then
                  variables(i) = defined(trim(field%name), trim(field%standard_name), trim(field%units), '', &
                     nf90_double)
               else
                  variables(i) = defined(trim(field%name), '', trim(field%units), trim(field%standard_name), &
                     nf90_double)
               end if
               call check(nf90_put_att(file, variables(i), 'coordinates', 'lat lon'), path)
               call check(nf90_put_att(file, variables(i), 'cell_measures', 'area: cell_area'), path)
               if (field%averaged) call check(nf90_put_att(file, variables(i), 'cell_methods', 'time: mean'), path)
            end associate
         end do
         call check(nf90_enddef(file), path)
      end if

      call write_cells(id, real(owned%id, wp))
      call write_cells(lon, owned%lon)
      call write_cells(lat, owned%lat)
      call write_cells(area, owned%area)
      do i = 1, self%count
         associate (field => self%fields(i))
            if (field%averaged) then
               call write_cells(variables(i), field%total/self%steps)
            else
               call write_cells(variables(i), field%values)
            end if
         end associate
      end do
      if (ranks%rank == 0) call check(nf90_close(file), 'closing '//path)

   contains

      integer function defined(name, standard_name, units, long_name, type) result(variable)
         !! Define a variable over the cells.
         character(len=*), intent(in) :: name, standard_name, units, long_name
         integer, intent(in) :: type

         call check(nf90_def_var(file, name, type, [dimension], variable), 'defining '//name//' in '//path)
         if (standard_name /= '') call check(nf90_put_att(file, variable, 'standard_name', standard_name), path)
         if (long_name /= '') call check(nf90_put_att(file, variable, 'long_name', long_name), path)
         call check(nf90_put_att(file, variable, 'units', units), path)
      end function defined

      subroutine write_cells(variable, values)
         !! Send the values of this rank to rank 0, which writes block after block.
         integer, intent(in) :: variable
         real(wp), intent(in) :: values(:)
         real(wp), allocatable :: block_values(:)
         integer :: rank, first, length

         if (ranks%rank > 0) then
            call mpi_send(size(values), 1, mpi_integer, 0, 1, ranks%communicator)
            call mpi_send(values, size(values), mpi_double_precision, 0, 2, ranks%communicator)
            return
         end if
         call check(nf90_put_var(file, variable, values), 'writing '//path)
         first = size(values) + 1
         do rank = 1, ranks%size - 1
            call mpi_recv(length, 1, mpi_integer, rank, 1, ranks%communicator, mpi_status_ignore)
            allocate (block_values(length))
            call mpi_recv(block_values, length, mpi_double_precision, rank, 2, ranks%communicator, mpi_status_ignore)
            call check(nf90_put_var(file, variable, block_values, start=[first]), 'writing '//path)
            deallocate (block_values)
            first = first + length
         end do
      end subroutine write_cells
   end subroutine write_file
end module result_means
