! SPDX-License-Identifier: Apache-2.0
!> The Fortran host of step_cost.py: answers each number of steps on standard input with the seconds of processor time they took.
!!
!! Arguments: the case (`accumulate32`, `accumulate64` or `network`), the coupling file, the number of cells.
program step_cost
   use, intrinsic :: iso_fortran_env, only: output_unit, real32, real64
   use coupler_plugin, only: coupler_t
   implicit none

   character(len=7), parameter :: fields(8) = [character(len=7) :: &
      'tas', 'huss', 'ps', 'sfcWind', 'pr', 'rsds', 'rlds', 'vpd']
   type(coupler_t) :: coupler
   character(len=512) :: case, config, text
   real(real32), allocatable, target :: single(:, :)
   real(real64), allocatable, target :: double(:, :), answers(:, :)
   real(real64), allocatable :: centre(:)
   real(real64) :: begin, end
   integer :: cells, i, steps, status

   call get_command_argument(1, case)
   call get_command_argument(2, config)
   call get_command_argument(3, text)
   read (text, *) cells
   allocate (centre(cells), source=0.0_real64)

   call coupler%init(trim(config), start='2001-01-01', dt=60.0_real64)
   call coupler%set_cells([(i, i=1, cells)], centre, centre)
   select case (case)
   case ('accumulate32')
      allocate (single(cells, size(fields)), source=1.0_real32)
      allocate (answers(cells, 1), source=0.0_real64)
      do i = 1, size(fields)
         call coupler%bind(fields(i), single(:, i))
      end do
      call coupler%bind('lai', answers(:, 1))
   case ('accumulate64')
      allocate (double(cells, size(fields)), source=1.0_real64)
      allocate (answers(cells, 1), source=0.0_real64)
      do i = 1, size(fields)
         call coupler%bind(fields(i), double(:, i))
      end do
      call coupler%bind('lai', answers(:, 1))
   case ('network')
      allocate (double(32, cells), source=1.0_real64)
      allocate (answers(8, cells), source=0.0_real64)
      call coupler%bind('features', double)
      call coupler%bind('answers', answers)
   end select

   do
      read (*, *, iostat=status) steps
      if (status /= 0) exit
      call cpu_time(begin)
      do i = 1, steps
         call coupler%step()
      end do
      call cpu_time(end)
      write (output_unit, '(es22.15)') end - begin
      flush (output_unit)
   end do
   call coupler%finalize()
end program step_cost
