! SPDX-License-Identifier: Apache-2.0
!> A host for any column emulator: the fields of a text file are bound, a few days pass, the outputs are printed.
!!
!! Usage: any_emulator coupling.yml fields.txt. The text file has the numbers of cells, days, inputs and outputs; the
!! coordinates; then each field's name, units and channels, and for inputs its values, which stay as they are.
program any_emulator
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none

   type :: field_t
      character(len=40) :: name = ''
      character(len=40) :: units = ''
      real(real64), allocatable :: values(:, :)
   end type field_t

   type(coupler_t) :: coupler
   type(field_t), allocatable, target :: fields(:)
   real(real64), pointer :: values(:, :)
   real(real64), allocatable :: lon(:), lat(:)
   character(len=1024) :: config, path
   integer :: n_cells, n_days, n_inputs, n_outputs, channels, unit, i, day

   call get_command_argument(1, config)
   call get_command_argument(2, path)
   open (newunit=unit, file=trim(path), status='old', action='read')
   read (unit, *) n_cells, n_days, n_inputs, n_outputs
   allocate (lon(n_cells), lat(n_cells), fields(n_inputs + n_outputs))
   read (unit, *) lon
   read (unit, *) lat

   call coupler%init(trim(config), start='2001-01-01', dt=86400.0_real64)
   call coupler%set_cells([(i, i=1, n_cells)], lon, lat)
   do i = 1, size(fields)
      read (unit, *) fields(i)%name, fields(i)%units, channels
      allocate (fields(i)%values(n_cells, channels), source=0.0_real64)
      if (i <= n_inputs) read (unit, *) fields(i)%values
      values => fields(i)%values
      if (channels == 1) then
         call coupler%bind(trim(fields(i)%name), values(:, 1), units=trim(fields(i)%units))
      else
         call coupler%bind(trim(fields(i)%name), values, units=trim(fields(i)%units))
      end if
   end do
   close (unit)

   do day = 1, n_days
      call coupler%step()
      do i = n_inputs + 1, size(fields)
         print '(a, *(1x, es24.16e3))', trim(fields(i)%name), fields(i)%values
      end do
   end do
   call coupler%finalize()
end program any_emulator
