! SPDX-License-Identifier: Apache-2.0
!> Daily forcing read from NetCDF, a day and a band of latitudes at a time.
!!
!! Every rank opens the file for itself and reads the rows its own cells lie in; no rank ever holds more than one
!! day of one variable.
module forcing
   use, intrinsic :: iso_fortran_env, only: int16
   use netcdf, only: nf90_close, nf90_get_att, nf90_get_var, nf90_inq_varid, nf90_nowrite, nf90_open
   use cells, only: cells_t
   use constants, only: days_per_year, wp
   use netcdf_status, only: check
   implicit none
   private
   public :: forcing_t, daily_t, climate_t

   integer, parameter :: variable_count = 7
   character(len=*), parameter :: names(variable_count) = [character(len=34) :: &
      'air_temperature', 'specific_humidity', 'wind_speed', 'surface_air_pressure', &
      'surface_downwelling_shortwave_flux', 'surface_downwelling_longwave_flux', 'precipitation_flux']

   type :: daily_t
      !! Daily means of one day.
      real(wp), allocatable :: tas(:)
         !! Air temperature [K].
      real(wp), allocatable :: huss(:)
         !! Specific humidity [1].
      real(wp), allocatable :: wind(:)
         !! Wind speed in the lowest layer of the driving model [m s-1].
      real(wp), allocatable :: ps(:)
         !! Surface pressure [Pa].
      real(wp), allocatable :: rsds(:)
         !! Downwelling shortwave [W m-2].
      real(wp), allocatable :: rlds(:)
         !! Downwelling longwave [W m-2].
      real(wp), allocatable :: pr(:)
         !! Precipitation [kg m-2 s-1].
   end type daily_t

   type :: climate_t
      !! What the year of forcing amounts to in each cell.
      real(wp), allocatable :: tas(:)
         !! Annual mean air temperature [K].
      real(wp), allocatable :: pr(:)
         !! Annual mean precipitation [kg m-2 s-1].
   end type climate_t

   type :: packed_t
      !! A variable stored as 16-bit integers.
      integer :: id = 0
      real(wp) :: scale = 1.0_wp
      real(wp) :: offset = 0.0_wp
   end type packed_t

   type :: forcing_t
      private
      character(len=:), allocatable :: path
      integer :: file = 0
      type(packed_t) :: variables(variable_count)
      integer :: n_lon = 0
         !! Longitudes of a row.
      integer :: first_row = 1
         !! First latitude row with a cell of this rank.
      integer :: rows = 0
         !! Number of rows read.
      integer, allocatable :: place(:)
         !! Where each cell lies in the rows read.
   contains
      procedure :: open => open_forcing
      procedure :: read_day
      procedure :: read_climate
      procedure :: close => close_forcing
      procedure, private :: read_variable
   end type forcing_t

contains

   subroutine open_forcing(self, path, owned)
      !! Open the file and note which rows the cells of this rank lie in.
      class(forcing_t), intent(out) :: self
      character(len=*), intent(in) :: path
      type(cells_t), intent(in) :: owned
      integer :: i

      self%path = path
      self%n_lon = owned%n_lon
      self%first_row = (minval(owned%id) - 1)/owned%n_lon + 1
      self%rows = (maxval(owned%id) - 1)/owned%n_lon + 2 - self%first_row
      self%place = owned%id - (self%first_row - 1)*owned%n_lon
      call check(nf90_open(path, nf90_nowrite, self%file), 'opening the forcing '//path)
      do i = 1, variable_count
         associate (variable => self%variables(i))
            call check(nf90_inq_varid(self%file, trim(names(i)), variable%id), 'looking for '//names(i)//' in '//path)
            call check(nf90_get_att(self%file, variable%id, 'scale_factor', variable%scale), 'unpacking '//names(i))
            call check(nf90_get_att(self%file, variable%id, 'add_offset', variable%offset), 'unpacking '//names(i))
         end associate
      end do
   end subroutine open_forcing

   subroutine read_day(self, day, daily)
      !! Read all variables of one day of the year (from 1).
      class(forcing_t), intent(in) :: self
      integer, intent(in) :: day
      type(daily_t), intent(inout) :: daily

      daily%tas = self%read_variable(1, day)
      daily%huss = self%read_variable(2, day)
      daily%wind = self%read_variable(3, day)
      daily%ps = self%read_variable(4, day)
      daily%rsds = self%read_variable(5, day)
      daily%rlds = self%read_variable(6, day)
      daily%pr = self%read_variable(7, day)
   end subroutine read_day

   function read_climate(self) result(climate)
      !! Average the year, day by day.
      class(forcing_t), intent(in) :: self
      type(climate_t) :: climate
      integer :: day

      allocate (climate%tas(size(self%place)), climate%pr(size(self%place)), source=0.0_wp)
      do day = 1, days_per_year
         climate%tas = climate%tas + self%read_variable(1, day)/days_per_year
         climate%pr = climate%pr + self%read_variable(7, day)/days_per_year
      end do
   end function read_climate

   subroutine close_forcing(self)
      class(forcing_t), intent(inout) :: self

      call check(nf90_close(self%file), 'closing the forcing '//self%path)
   end subroutine close_forcing

   function read_variable(self, i, day) result(values)
      !! Read one day of the rows of this rank, unpack it, and keep the land cells.
      class(forcing_t), intent(in) :: self
      integer, intent(in) :: i
         !! Place of the variable in `names`.
      integer, intent(in) :: day
      real(wp) :: values(size(self%place))
      integer(int16) :: packed(self%n_lon*self%rows)

      associate (variable => self%variables(i))
         call check(nf90_get_var(self%file, variable%id, packed, start=[1, self%first_row, day], &
            count=[self%n_lon, self%rows, 1]), 'reading '//trim(names(i))//' from '//self%path)
         values = packed(self%place)*variable%scale + variable%offset
      end associate
   end function read_variable
end module forcing
